// To a user's new address.
import { maskAddress } from '../message.ts';
import type { Letter } from '../letter.ts';

/** The former address is only hinted at: if the new one is mistyped, this mail is a stranger's. */
export function emailChangedConfirmation(to: string, oldEmail: string, service: string): Letter {
  return {
    subject: 'Your e-mail address has been changed',
    parts: [
      { kind: 'heading', text: 'Your e-mail address has been changed' },
      {
        kind: 'paragraph',
        text: `From now on ${service} writes to ${to}. Before, it wrote to ${maskAddress(oldEmail)}.`,
      },
      { kind: 'paragraph', text: 'If that is what you wanted, you need not do anything.' },
      {
        kind: 'paragraph',
        text: 'You did not ask for this? Then somebody else may have: please tell our customer service.',
      },
    ],
  };
}
