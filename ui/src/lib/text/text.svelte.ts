// The page's words in the reader's language. English is in the first load, others
// are fetched when they are wanted.

import { en, type Key } from './en';

export type Language = 'en' | 'zh';
export const languages: { code: Language; name: string }[] = [
  { code: 'en', name: 'English' },
  { code: 'zh', name: '中文' },
];

const key = 'netfate.language';

class Text {
  language: Language = $state('en');
  words: Record<Key, string> = $state.raw(en);
}

const text = new Text();

export async function speak(language: Language): Promise<void> {
  text.words = language === 'zh' ? (await import('./zh')).zh : en;
  text.language = language;
  document.documentElement.lang = tag() ?? 'en';
}

export async function loadText(): Promise<void> {
  const kept = localStorage.getItem(key);
  const wanted = kept ?? navigator.language;
  await speak(wanted.startsWith('zh') ? 'zh' : 'en').catch(() => undefined);
}

export function choose(language: Language): void {
  localStorage.setItem(key, language);
  void speak(language);
}

export function language(): Language {
  return text.language;
}

// tag is what the API calls the language, nothing for English, which it speaks
// by itself.
export function tag(): string | undefined {
  return text.language === 'zh' ? 'zh-CN' : undefined;
}

export function t(key: Key, values: Record<string, string | number> = {}): string {
  return text.words[key].replace(/\{(\w+)\}/g, (whole, name: string) => String(values[name] ?? whole));
}

// word looks up what comes from the server: a field, a verdict, a layer. What has
// no word here stays as it came.
export function word(group: string, name: string): string {
  return (text.words as Record<string, string>)[`${group}.${name}`] ?? name;
}
