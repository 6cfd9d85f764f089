// What the pages' readers have themselves: what is sold.

/** What is put into a cart. */
export interface Product {
  readonly id: string
  readonly price: number
}

/** The product that has the id. */
export async function findProduct(id: string): Promise<Product> {
  return { id, price: 7 }
}
