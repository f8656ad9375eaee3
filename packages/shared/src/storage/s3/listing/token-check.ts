import { TransferError } from "../../../errors.js";
import type { ListedPage } from "./page.js";

/**
 * Finds out that the tokens of pages that follow each other go in a circle. Where keys come, their order shows it; of
 * pages without any, one token is remembered and exchanged after 1, 2, 4, 8 … of them, so that a circle is found within
 * a few of its own lengths however long it is (Brent 1980).
 */
export class TokenCheck {
  #remembered: string | undefined;
  #empty = 0;
  #exchangeAt = 1;

  /**
   * @param token that the page was asked for with.
   * @throws TransferError where its own token came before.
   */
  check({ objects, next }: ListedPage, token: string | undefined): void {
    if (next === undefined) return;
    if (objects.keys.length > 0) {
      this.#empty = 0;
      this.#exchangeAt = 1;
      this.#remembered = undefined;
    }
    if (next === token || next === this.#remembered) throw untrusted("the token of a page came again");
    if (objects.keys.length > 0 || ++this.#empty < this.#exchangeAt) return;
    this.#remembered = next;
    this.#exchangeAt *= 2;
  }
}

/** The error of a listing whose pages contradict each other. */
export function untrusted(why: string): TransferError {
  return new TransferError("protocol", `the listing cannot be trusted: ${why}`, { permanent: true });
}
