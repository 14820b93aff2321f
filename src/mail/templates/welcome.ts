// To a new user.
import type { Letter } from '../letter.ts';

export function welcome(to: string, service: string): Letter {
  return {
    subject: `Welcome to ${service}`,
    parts: [
      { kind: 'heading', text: `Welcome to ${service}` },
      {
        kind: 'paragraph',
        text: `It is good to have you here. Your account is ready, and its e-mail address is ${to}.`,
      },
      {
        kind: 'paragraph',
        text: 'To this address we write when there is news of your orders, and when something about your account changes.',
      },
      {
        kind: 'paragraph',
        text: 'You have not opened an account with us? Then somebody has mistyped an address. You need not do anything, and we are sorry for the disturbance.',
      },
    ],
  };
}
