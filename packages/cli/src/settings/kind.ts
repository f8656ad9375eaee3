/** What a setting's value is: how it is read, and how `drover config` shows it. */
export interface Kind<T> {
  /** @throws Error with what is expected; SettingsError with what is wrong. */
  read(text: string): T;
  show(value: T): string;
  /** Whether the text may have several lines: a flag that may be repeated, a list in a file. Default false. */
  lines?: true;
}
