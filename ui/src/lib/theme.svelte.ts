// Dark or light: as the system says, unless the reader chose.

export type Theme = 'auto' | 'light' | 'dark';

const key = 'netfate.theme';
const dark = matchMedia('(prefers-color-scheme: dark)');

class Look {
  chosen: Theme = $state('auto');
  #system = $state(dark.matches);

  constructor() {
    const kept = localStorage.getItem(key);
    if (kept === 'light' || kept === 'dark') this.chosen = kept;
    dark.addEventListener('change', () => (this.#system = dark.matches));
  }

  get dark(): boolean {
    return this.chosen === 'auto' ? this.#system : this.chosen === 'dark';
  }

  choose(theme: Theme): void {
    this.chosen = theme;
    if (theme === 'auto') localStorage.removeItem(key);
    else localStorage.setItem(key, theme);
  }
}

export const look = new Look();
