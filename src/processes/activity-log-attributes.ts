// Every log line of an activity, ours and the SDK's, carries the correlation id of the order that it works for.
import type { ActivityInterceptorsFactory } from '@temporalio/worker';
import type { EventMetadata } from '../domain/event.ts';

/** Made anew for each attempt. The input is what Temporal has stored, so its shape is looked at. */
export const activityLogAttributes: ActivityInterceptorsFactory = () => {
  let correlationId: string | undefined;
  return {
    inbound: {
      async execute(input, next) {
        const [step] = input.args as readonly (Readonly<{ metadata?: EventMetadata }> | undefined)[];
        correlationId = step?.metadata?.correlationId;
        return await next(input);
      },
    },
    outbound: {
      getLogAttributes: (input, next) => ({
        ...next(input),
        ...(correlationId === undefined ? {} : { correlationId }),
      }),
    },
  };
};
