// Products and their stock.
import { Router } from 'express';
import { z } from 'zod';
import { DomainError } from '../domain/errors.ts';
import type { Products } from '../inventory/products.ts';
import { findProductSales } from '../orders/product-sales.ts';
import type { Db } from '../platform/database.ts';
import { jsonAnswer } from './protocol/answer.ts';
import { bodyOf } from './protocol/body.ts';
import { onHand, parse, pathSafeId, text } from './protocol/fields.ts';
import { pathPart, serve } from './protocol/routes.ts';
import type { Request } from 'express';

const partsSchema = z.object({ productId: pathSafeId });
const productSchema = z.strictObject({ name: text(1, 200), onHand });

export function createProductsRouter(deps: Readonly<{ products: Products; db: Db }>): Router {
  const { products, db } = deps;
  const productIdOf = (request: Request): string =>
    parse(partsSchema, { productId: pathPart(request, 'productId') }).productId;
  const router = Router({ caseSensitive: true });

  serve(router, '/products/:productId', {
    get: async ({ request, metadata }) => {
      const productId = productIdOf(request);
      const product = await products.find(metadata.tenantId, productId);
      if (product === undefined) {
        throw new DomainError('product-not-found', `there is no product ${productId}`, 'productId');
      }
      return jsonAnswer(200, product);
    },
    put: async ({ request, metadata }) => {
      const productId = productIdOf(request);
      const product = parse(productSchema, bodyOf(request));
      return jsonAnswer(200, await products.put(metadata.tenantId, productId, product));
    },
  });

  // Read from a model that follows the log: a moment behind the orders.
  serve(router, '/products/:productId/sales', {
    get: async ({ request, metadata }) => {
      const productId = productIdOf(request);
      return jsonAnswer(200, { productId, sales: await findProductSales(db, metadata.tenantId, productId) });
    },
  });
  return router;
}
