/** Two promises that let a test and a server meet at a known point instead of sleeping. */
export class Gate {
  #arrive: () => void = () => {};
  #open: () => void = () => {};
  /** Fulfilled when the server has come to the gate for the first time. */
  readonly reached = new Promise<void>((resolve) => {
    this.#arrive = resolve;
  });
  /** Fulfilled when the test has opened the gate. */
  readonly opened = new Promise<void>((resolve) => {
    this.#open = resolve;
  });

  /** Called by the server: reports that it is here, then waits. */
  async pass(): Promise<void> {
    this.#arrive();
    await this.opened;
  }

  open(): void {
    this.#open();
  }
}

/** Polls until `check` gives something, for state that announces itself to nobody (files, processes). */
export async function until<T>(
  what: string,
  check: () => T | undefined | false | Promise<T | undefined | false>,
  timeoutMs = 20_000,
): Promise<T> {
  const end = Date.now() + timeoutMs;
  for (;;) {
    const value = await check();
    if (value !== undefined && value !== false) return value;
    if (Date.now() > end) throw new Error(`waited ${timeoutMs} ms in vain for: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}
