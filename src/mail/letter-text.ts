// Sets a letter as plain text of at most 78 columns, as RFC 5322 advises.
import { inOneLine, type Letter, type LetterItem, type LetterPart } from './letter.ts';

const width = 78;
/** By what people take for one character, be it written with several. */
const segmenter = new Intl.Segmenter('en', { granularity: 'grapheme' });
const charactersOf = (text: string): readonly string[] => Array.from(segmenter.segment(text), ({ segment }) => segment);
const lengthOf = (text: string): number => charactersOf(text).length;

/** Ends with a line break. `signature`: who writes. */
export function toText(letter: Letter, signature: string): string {
  const parts = [...letter.parts.map((part) => textOf(part)), wrap(signature, width).join('\n')];
  return `${parts.join('\n\n')}\n`;
}

function textOf(part: LetterPart): string {
  switch (part.kind) {
    case 'heading': {
      const lines = wrap(part.text, width);
      return [...lines, '='.repeat(Math.max(...lines.map((line) => lengthOf(line))))].join('\n');
    }
    case 'paragraph':
      return wrap(part.text, width).join('\n');
    case 'quote':
      return wrap(part.text, width - 2)
        .map((line) => `> ${line}`)
        .join('\n');
    case 'items':
      return [...part.items.flatMap(linesOf), '-'.repeat(width), ...withSum('Total', part.total)].join('\n');
  }
}

function linesOf({ name, quantity, each, sum }: LetterItem): readonly string[] {
  return withSum(quantity === 1 ? `1 x ${name}` : `${quantity} x ${name} (${each} each)`, sum);
}

/** The sum stands at the right, on the last line. */
function withSum(text: string, sum: string): readonly string[] {
  const lines = wrap(text, width - lengthOf(sum) - 2);
  const last = lines.at(-1) ?? '';
  return [...lines.slice(0, -1), `${last}${' '.repeat(width - lengthOf(last) - lengthOf(sum))}${sum}`];
}

/** Between words; a word that is longer than a line is broken where the line ends. */
function wrap(text: string, columns: number): readonly string[] {
  const lines = [''];
  for (const word of inOneLine(text)
    .split(' ')
    .flatMap((word) => chunksOf(word, columns))) {
    const line = lines.at(-1) ?? '';
    if (line === '') lines[lines.length - 1] = word;
    else if (lengthOf(line) + 1 + lengthOf(word) <= columns) lines[lines.length - 1] = `${line} ${word}`;
    else lines.push(word);
  }
  return lines;
}

function chunksOf(word: string, columns: number): readonly string[] {
  const characters = charactersOf(word);
  const count = Math.max(1, Math.ceil(characters.length / columns));
  return Array.from({ length: count }, (_, n) => characters.slice(n * columns, (n + 1) * columns).join(''));
}
