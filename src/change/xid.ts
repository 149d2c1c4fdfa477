declare const xid8Brand: unique symbol

/**
 * A transaction id widened to 64 bits, which never wraps.
 *
 * @see https://www.postgresql.org/docs/current/transaction-id.html
 */
export type Xid8 = bigint & { readonly [xid8Brand]: 'Xid8' }

/**
 * The 64-bit id that the stream's 32-bit `xid` stands for.
 *
 * `reference` is any 64-bit id within 2^31 of it, such as the newest known snapshot's xmax.
 * Ids are widened on arrival, since comparing 32-bit ids goes wrong after the first wrap.
 */
export function widenXid(xid: number, reference: Xid8): Xid8 {
  return (reference + BigInt.asIntN(32, BigInt(xid) - reference)) as Xid8
}
