// Every kind of job, with the schema of its data. What is called from a job: mail, partners, whatever has no transaction.
import { z } from 'zod';

const mailOf = <T extends string, S extends z.ZodRawShape>(template: T, shape: S) =>
  z.object({
    template: z.literal(template),
    to: z.string(),
    /** The event that the mail tells of; it becomes the Message-ID, so a mail that goes out twice is known by it. */
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
    items: z.array(z.object({ productId: z.string(), quantity: z.int(), price: amount })),
    total: amount,
    currency: z.string(),
  }),
  mailOf('order-cancelled', { orderId: z.string(), reason: z.string() }),
]);
export type Mail = z.infer<typeof mailSchema>;

export const jobCatalogue = {
  'send-mail': { schema: mailSchema },
  /** The safety net behind a cancelled order: see to it that no money is held for it. */
  refund: { schema: z.object({ orderId: z.string() }) },
  'create-shipment': { schema: z.object({ orderId: z.string() }) },
} as const;

export type JobName = keyof typeof jobCatalogue;
export type JobData<N extends JobName> = Readonly<z.infer<(typeof jobCatalogue)[N]['schema']>>;
