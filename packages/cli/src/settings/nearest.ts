/** The word that shares the most letter pairs with a misspelt one, if any is close. */
export function nearest(word: string, words: string[]): string | undefined {
  const pairs = (text: string) =>
    new Set(Array.from({ length: text.length - 1 }, (_, at) => text.slice(at, at + 2)));
  const mine = pairs(word.toLowerCase().replaceAll("_", "-"));
  const scored = words.map((each) => {
    const theirs = pairs(each);
    return {
      each,
      score: (2 * [...mine].filter((pair) => theirs.has(pair)).length) / (mine.size + theirs.size || 1),
    };
  });
  const best = scored.sort((a, b) => b.score - a.score)[0];
  return best && best.score > 0.5 ? best.each : undefined;
}
