// A limit for what may never settle.

/**
 * What `work` becomes, if it does so in time. Otherwise it goes on, and nobody hears of it any more.
 * @throws what `late` makes, after `milliseconds`
 */
export async function within<T>(milliseconds: number, work: Promise<T>, late: () => Error): Promise<T> {
  const limit = Promise.withResolvers<never>();
  const timer = setTimeout(() => limit.reject(late()), milliseconds);
  try {
    return await Promise.race([work, limit.promise]);
  } finally {
    clearTimeout(timer);
  }
}
