/**
 * Does tasks side by side, and yields their results in the order of the tasks.
 *
 * @param tasks the next one is taken when there is room for it. What it throws is thrown after the results of all that came
 *   before.
 * @param most tasks at once.
 * @throws what a task throws, once the results before it are yielded. All tasks have come to their ends then.
 */
export async function* inOrder<T>(tasks: AsyncGenerator<() => Promise<T>>, most: number): AsyncGenerator<T> {
  const running: Promise<T>[] = [];
  let failure: { error: unknown } | undefined;
  try {
    for (;;) {
      const step = await tasks.next().catch((error: unknown) => {
        failure = { error };
        return undefined;
      });
      if (!step || step.done) break;
      if (running.length >= most) yield await (running.shift() as Promise<T>);
      const begun = step.value();
      begun.catch(() => {}); // thrown when it is its turn
      running.push(begun);
    }
    while (running.length > 0) yield await (running.shift() as Promise<T>);
    if (failure) throw failure.error;
  } finally {
    await Promise.allSettled(running);
    await tasks.return(undefined);
  }
}
