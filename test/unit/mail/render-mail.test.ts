// What each mail says, in both of its parts.
import { describe, expect, it } from 'vitest';
import type { Mail, MailOf } from '../../../src/domain/job-catalogue.ts';
import { renderMail } from '../../../src/mail/render-mail.ts';

const to = 'ada@example.com';
const eventId = '0198c0de-0000-7000-8000-000000000001';
const orderId = '0198c0de-0000-7000-8000-000000000002';
const confirmation = (changes: Partial<MailOf<'order-confirmation'>['data']> = {}): Mail => ({
  template: 'order-confirmation',
  to,
  eventId,
  data: { orderId, items: [{ productId: 'lamp', quantity: 2, price: 1999 }], total: 3998, currency: 'EUR', ...changes },
});
const cancelled = (reason: string): Mail => ({ template: 'order-cancelled', to, eventId, data: { orderId, reason } });
const every: readonly Mail[] = [
  { template: 'welcome', to, eventId, data: {} },
  { template: 'email-changed-confirmation', to, eventId, data: { oldEmail: 'grace@example.org' } },
  confirmation(),
  cancelled('changed my mind'),
];
const render = (mail: Mail) => renderMail(mail, 'Lamps & More');
/** What a reader sees of the HTML: without tags, each entity as what it stands for. */
const wordsOf = (html: string): string =>
  html
    .replaceAll(/<(style|title)[^>]*>[^<]*<\/\1>|<[^>]*>/g, ' ')
    .replaceAll('&lt;', '<')
    .replaceAll('&gt;', '>')
    .replaceAll('&#39;', "'")
    .replaceAll('&quot;', '"')
    .replaceAll('&times;', 'x')
    .replaceAll('&amp;', '&')
    .replaceAll(/\s+/g, ' ')
    .trim();
/** Both parts, as they are read. */
const partsOf = (mail: Mail): readonly string[] => {
  const { text, html } = render(mail);
  return [text.replaceAll(/\s+/g, ' '), wordsOf(html)];
};

describe.each(every.map((mail) => [mail.template, mail] as const))('the mail %s', (_, mail) => {
  it('goes to whom it is for, is known by its event, and has a subject of one line', () => {
    const { id, to: recipient, subject } = render(mail);
    expect({ id, recipient }).toEqual({ id: eventId, recipient: to });
    expect(subject).toMatch(/^[\x20-\x7E]{10,78}$/);
  });

  it('is text of at most 78 columns', () => {
    const { text } = render(mail);
    expect(text.length).toBeGreaterThan(200);
    for (const line of text.split('\n')) expect(line.length).toBeLessThanOrEqual(78);
    expect(text).toMatch(/[^\n]\n$/);
    expect(text).not.toMatch(/<|&amp;|undefined| \n/);
  });

  it('is HTML that loads nothing, runs nothing, and leaves the colours to its reader', () => {
    const { html } = render(mail);
    expect(html).not.toMatch(/<(?:script|img|link|iframe|form|a)\b|https?:|url\(|undefined/);
    expect(html).not.toMatch(/(?<!-)\b(?:color|background(?:-color)?):/);
    expect(html).toContain('<meta name="color-scheme" content="light dark">');
  });

  it('says the same in both, and who writes', () => {
    const { text, html } = render(mail);
    const read = wordsOf(html);
    const paragraphs = text.split('\n\n').filter((part) => /^[A-Z]/.test(part) && !/^[=-]{3}/m.test(part));
    expect(paragraphs.length).toBeGreaterThanOrEqual(3);
    for (const paragraph of paragraphs) expect(read).toContain(paragraph.replaceAll('\n', ' ').trim());
    expect(read).toContain('Lamps & More');
  });
});

describe('the confirmation of an order', () => {
  it('names the order, each item with what it costs, and the total', () => {
    const items = [
      { productId: 'lamp', quantity: 2, price: 1999 },
      { productId: 'bulb', quantity: 1, price: 350 },
      { productId: 'sticker', quantity: 3, price: 0 },
    ];
    for (const part of partsOf(confirmation({ items, total: 4348 }))) {
      expect(part).toContain(orderId);
      expect(part).toMatch(
        /2 x lamp \(?19\.99 EUR each\)? 39\.98 EUR 1 x bulb 3\.50 EUR 3 x sticker \(?0\.00 EUR each\)? 0\.00 EUR/,
      );
      expect(part).toMatch(/Total 43\.48 EUR/);
    }
  });

  it.each([
    ['EUR', '1234.56 EUR'],
    ['JPY', '123456 JPY'],
    ['KWD', '123.456 KWD'],
    ['CLF', '12.3456 CLF'],
  ])('shows %s with its own number of decimals', (currency, shown) => {
    const mail = confirmation({
      items: [{ productId: 'lamp', quantity: 1, price: 123_456 }],
      total: 123_456,
      currency,
    });
    for (const part of partsOf(mail)) expect(part).toContain(`1 x lamp ${shown} `);
  });

  it('promises neither goods nor a charge, for neither is certain yet', () => {
    for (const part of partsOf(confirmation()))
      expect(part).not.toMatch(/is confirmed|was charged|have charged|on its way/i);
  });

  it('keeps its columns with the longest names, most lines and largest sums', () => {
    const items = Array.from({ length: 500 }, (_, n) => ({
      productId: `${n}-`.padEnd(128, 'x'),
      quantity: 1_000_000,
      price: 8_999_999,
    }));
    const { text, html } = render(confirmation({ items, total: Number.MAX_SAFE_INTEGER }));
    for (const line of text.split('\n')) expect(line.length).toBeLessThanOrEqual(78);
    expect(text.match(/89999990000\.00 EUR$/gm)).toHaveLength(500);
    expect(text).toMatch(/^Total {2,}90071992547409\.91 EUR$/m);
    expect(html.match(/89999990000\.00 EUR/g)).toHaveLength(500);
  });
});

describe('the mail about a cancelled order', () => {
  it('names the order and the reason, and says what becomes of the money', () => {
    for (const part of partsOf(cancelled('it\'s too <bright> & "big"'))) {
      expect(part).toContain(orderId);
      expect(part).toContain('it\'s too <bright> & "big"');
      expect(part).toContain('You pay nothing for it.');
    }
  });

  it('shows a reason as one quote, whatever somebody has typed', () => {
    const { text, html } = render(
      cancelled('a\r\n\r\nFrom: b\u0000\u001B[31m\u2028c\u202Ed\uD800 <img src=x onerror=alert(1)>'),
    );
    expect(text).toContain('> a From: b [31m cd\uFFFD <img src=x onerror=alert(1)>');
    expect(html).toContain('a From: b [31m cd\uFFFD &lt;img src=x onerror=alert(1)&gt;</blockquote>');
  });

  it('breaks a long word between characters, never inside one', () => {
    const { text } = render(cancelled('👩‍👩‍👧‍👦'.repeat(100)));
    const quoted = text.split('\n').filter((line) => line.startsWith('> '));
    expect(quoted.map((line) => line.slice(2)).join('')).toBe('👩‍👩‍👧‍👦'.repeat(100));
    expect(quoted[0]).toBe(`> ${'👩‍👩‍👧‍👦'.repeat(76)}`);
  });
});

describe('the mail about a changed address', () => {
  it('names the new one, and only hints at the former: a mistyped address is a stranger’s', () => {
    const mail: Mail = { template: 'email-changed-confirmation', to, eventId, data: { oldEmail: 'grace@example.org' } };
    for (const part of partsOf(mail)) {
      expect(part).toContain('ada@example.com');
      expect(part).toContain('g…@example.org');
      expect(part).not.toContain('grace');
    }
  });
});
