// Colours of lines: eight that are told apart by most eyes (after Okabe and Ito,
// Color Universal Design, 2008), of a lightness for either ground. None of them is
// a verdict's.

const light = ['#0072b2', '#00866a', '#8a6d00', '#b0568b', '#3b87c8', '#6b6ecf', '#4b6b5f', '#8c6d4f'];
const dark = ['#56b4e9', '#35c79b', '#d9c25e', '#dd96bd', '#8ecbf2', '#a8aaf0', '#9dbdb0', '#c9a888'];

export function colours(onDark: boolean): string[] {
  return onDark ? dark : light;
}
