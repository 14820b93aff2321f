// What is said of a field that is wrong: what would be right. A schema that has words of its own keeps them.
import type { z } from 'zod';

const kinds: Readonly<Record<string, string>> = {
  string: 'a text',
  // The API knows no others.
  number: 'a whole number',
  int: 'a whole number',
  boolean: 'true or false',
  array: 'a list',
  object: 'an object',
  record: 'an object',
};

/** @returns undefined where the library has to say it */
export function messageOf(issue: z.core.$ZodRawIssue): string | undefined {
  const wanted = wantedOf(issue);
  if (wanted === undefined) return undefined;
  return issue.input === undefined ? `is missing, must be ${wanted}` : `must be ${wanted}`;
}

function wantedOf(issue: z.core.$ZodRawIssue): string | undefined {
  switch (issue.code) {
    case 'invalid_type':
      return kinds[issue.expected];
    case 'invalid_value':
      return `${issue.values.length > 1 ? 'one of ' : ''}${issue.values.map(String).join(', ')}`;
    case 'too_small':
      return sized(issue.origin, 'at least', Number(issue.minimum));
    case 'too_big':
      return sized(issue.origin, 'at most', Number(issue.maximum));
    default:
      return undefined;
  }
}

function sized(origin: string, bound: string, size: number): string {
  if (origin === 'string') return `a text of ${bound} ${size} ${size === 1 ? 'character' : 'characters'}`;
  if (origin === 'array') return `a list of ${bound} ${size} ${size === 1 ? 'entry' : 'entries'}`;
  return `${bound} ${size}`;
}
