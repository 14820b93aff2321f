// Every kind of job, with the schema of its data. What is called from a job: mail, partners, whatever has no transaction.
import { z } from 'zod';

const mailOf = <T extends string, S extends z.ZodRawShape>(template: T, shape: S) =>
  z.object({
    template: z.literal(template),
    /** One address. Whether it is one, the mailer sees: a job with a wrong one is a dead letter, its event is not. */
    to: z.string(),
    /**
     * The event that the mail tells of; it becomes the Message-ID, so a mail that goes out twice is known by it. One event
     * is one mail: a second of the same event takes an id derived from it, or mail programs show one of the two only.
     */
    eventId: z.string(),
    data: z.object(shape),
  });
const amount = z.int().min(0);

/** One for each template: whom it goes to, and all that its text needs. */
export const mailSchema = z.discriminatedUnion('template', [
  mailOf('welcome', {}),
  mailOf('email-changed-confirmation', { oldEmail: z.string() }),
  mailOf('order-confirmation', {
    orderId: z.string(),
    items: z.array(z.object({ productId: z.string(), quantity: z.int().min(1), price: amount })),
    total: amount,
    currency: z.string().regex(/^[A-Z]{3}$/),
  }),
  mailOf('order-cancelled', { orderId: z.string(), reason: z.string() }),
]);
export type Mail = z.infer<typeof mailSchema>;
export type MailOf<T extends Mail['template']> = Extract<Mail, { template: T }>;

export const jobCatalogue = {
  'send-mail': { schema: mailSchema },
  /** The safety net behind a cancelled order: see to it that no money is held for it. */
  refund: { schema: z.object({ orderId: z.string() }) },
  'create-shipment': { schema: z.object({ orderId: z.string() }) },
} as const;

export type JobName = keyof typeof jobCatalogue;
export type JobData<N extends JobName> = Readonly<z.infer<(typeof jobCatalogue)[N]['schema']>>;
