// The port to whoever sends the goods.
export type ShipmentRequest = Readonly<{
  tenantId: string;
  orderId: string;
  items: readonly Readonly<{ productId: string; quantity: number }>[];
  /** The same in every attempt for one shipment. */
  idempotencyKey: string;
}>;

export type Shipment = Readonly<{ shipmentId: string }>;

export type FulfilmentService = Readonly<{
  /**
   * Once per key: again, it answers with the shipment that is there, and nothing is sent twice. Once it has answered the
   * goods are on their way, and nothing here calls them back.
   * @throws UnavailableError, also where it is not known whether the shipment was made: the caller asks again under the key
   * @throws Error where the key, or the order, stands for another shipment: asking again changes nothing
   */
  createShipment(request: ShipmentRequest): Promise<Shipment>;
}>;
