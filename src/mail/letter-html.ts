// Sets a letter as HTML. Styles are inline, since mail programs drop the rest; no colour of text or ground is set, so
// that it is legible in the dark too; nothing is loaded from anywhere.
import { inOneLine, type Letter, type LetterItem, type LetterPart } from './letter.ts';

const line = '1px solid #8888';
const number = `padding: 8px 0 8px 16px; text-align: right; white-space: nowrap; vertical-align: top; border-top: ${line}`;
const name = `padding: 8px 0; text-align: left; vertical-align: top; overflow-wrap: anywhere; border-top: ${line}`;

/** `signature`: who writes. */
export function toHtml(letter: Letter, signature: string): string {
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="supported-color-schemes" content="light dark">
<title>${escape(letter.subject)}</title>
</head>
<body style="margin: 0; padding: 16px">
<div style="box-sizing: border-box; max-width: 600px; margin: 0 auto; padding: 8px 24px 16px; border: ${line};
border-radius: 8px; font: 16px/1.5 system-ui, -apple-system, 'Segoe UI', Roboto, Arial, sans-serif">
${letter.parts.map((part) => htmlOf(part)).join('\n')}
<p style="margin: 24px 0 0; padding: 12px 0 0; border-top: ${line}; font-size: 14px; overflow-wrap: anywhere">${escape(signature)}</p>
</div>
</body>
</html>
`;
}

function htmlOf(part: LetterPart): string {
  switch (part.kind) {
    case 'heading':
      return `<h1 style="margin: 16px 0; font-size: 22px; line-height: 1.3; overflow-wrap: anywhere">${escape(part.text)}</h1>`;
    case 'paragraph':
      return `<p style="margin: 16px 0; overflow-wrap: anywhere">${escape(part.text)}</p>`;
    case 'quote':
      return `<blockquote dir="auto" style="margin: 16px 0; padding: 4px 16px; border-left: 4px solid #8888; overflow-wrap: anywhere">${escape(part.text)}</blockquote>`;
    case 'items':
      return tableOf(part);
  }
}

function tableOf({ items, total }: Extract<LetterPart, { kind: 'items' }>): string {
  return `<table role="presentation" style="width: 100%; border-collapse: collapse; margin: 16px 0">
${items.map((item) => rowOf(item)).join('\n')}
<tr><td style="${name}; font-weight: bold">Total</td><td style="${number}; font-weight: bold">${escape(total)}</td></tr>
</table>`;
}

function rowOf({ name: product, quantity, each, sum }: LetterItem): string {
  const piece = quantity === 1 ? '' : `<br><small>${escape(each)} each</small>`;
  const words = `${quantity} &times; <bdi>${escape(product)}</bdi>${piece}`;
  return `<tr><td style="${name}">${words}</td><td style="${number}">${escape(sum)}</td></tr>`;
}

const entities: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  "'": '&#39;',
};

function escape(text: string): string {
  return inOneLine(text).replaceAll(/[&<>"']/g, (character) => entities[character] ?? '');
}
