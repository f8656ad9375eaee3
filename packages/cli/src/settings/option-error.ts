import { SettingsError } from "@drover/shared/errors";

/** A setting or an option of the command has no valid value: the command's help says which it takes (exit 2). */
export class OptionError extends SettingsError {
  override name = "OptionError";
}
