// How long things may take on the way of a delivery. Each limit outlives the one inside it, so that whoever gives up
// knows it before somebody else begins again.

/** A plain handler, its transaction included; then it has failed, and can write nothing more. */
export const handlerSeconds = 15;

/** One delivery, with all of its handlers, which run side by side. */
export const deliverySeconds = 30;

/** A claim. A live relay never loses its lease: it has given up on the delivery, and said so, before. */
export const leaseSeconds = 60;
