import { existsSync, readFileSync } from "node:fs";
import { basename, extname, join } from "node:path";
import type { AnySchema, ErrorObject, ValidateFunction } from "ajv";
import { Ajv2020 } from "ajv/dist/2020.js";
import { MOST_ISSUES, type ReadYaml, readYaml, type YamlIssue } from "../strict-yaml.js";

/** What is wrong with a file: never with a value of it. */
export type SettingsIssue = YamlIssue;

/** The adapter that a settings file is of: its name without the extension. */
export function adapterOf(name: string): string {
  return basename(name, extname(name));
}

/** Checks settings files: UTF-8, YAML 1.2 with unique keys and harmless aliases, and the schema of its adapter. */
export class SettingsCheck {
  readonly #schemas = new Map<string, ValidateFunction | SettingsIssue | undefined>();
  #ajv: Ajv2020 | undefined;

  /** @param schemaDir directory of `ADAPTER.json`, JSON Schemas 2020-12. Default: no schema is asked. */
  constructor(private readonly schemaDir: string | undefined) {}

  /** @returns what is wrong with the content of a file; nothing where it may be published. */
  check(name: string, bytes: Buffer): SettingsIssue[] {
    const read = readYaml(bytes);
    return "issues" in read ? read.issues : this.#checkSchema(adapterOf(name), read);
  }

  #checkSchema(adapter: string, { value, placeOf }: ReadYaml): SettingsIssue[] {
    const validate = this.#schemaOf(adapter);
    if (validate === undefined) return [];
    if (typeof validate !== "function") return [validate];
    if (validate(value)) return [];
    return (validate.errors ?? [])
      .slice(0, MOST_ISSUES)
      .map((error) => ({ why: sayOf(error), ...placeOf(error.instancePath) }));
  }

  /** The schema of an adapter, what is wrong with it, or undefined where there is none. */
  #schemaOf(adapter: string): ValidateFunction | SettingsIssue | undefined {
    if (this.schemaDir === undefined) return undefined;
    if (this.#schemas.has(adapter)) return this.#schemas.get(adapter);
    const path = join(this.schemaDir, `${adapter}.json`);
    const found = existsSync(path) ? this.#compile(path) : undefined;
    this.#schemas.set(adapter, found);
    return found;
  }

  #compile(path: string): ValidateFunction | SettingsIssue {
    try {
      const schema = JSON.parse(readFileSync(path, "utf8")) as AnySchema;
      // Formats are notes to people in this version of JSON Schema.
      this.#ajv ??= new Ajv2020({ allErrors: true, strict: false, validateFormats: false, logger: false });
      return this.#ajv.compile(schema);
    } catch {
      return { why: `its schema ${basename(path)} cannot be read, or is none` };
    }
  }
}

/** What a schema demands. Ajv's messages repeat the schema, never the file. */
function sayOf({ keyword, message = "it does not fit its schema", params }: ErrorObject): string {
  const name =
    keyword === "additionalProperties" || keyword === "unevaluatedProperties"
      ? (params.additionalProperty ?? params.unevaluatedProperty)
      : undefined;
  return `schema: ${message}${name === undefined ? "" : `: ${JSON.stringify(name)}`}`;
}
