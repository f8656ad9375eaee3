/**
 * Stands for zod in the package's declarations, which need no more of it than how a schema's type is inferred. zod's own
 * declarations are twenty times as large as all of Drover's. A kind of schema that is missing here fails the build's check.
 */
export declare namespace z {
  interface ZodType<Output = unknown, Input = unknown> {
    readonly _output: Output;
    readonly _input: Input;
  }
  type infer<T extends ZodType> = T["_output"];
  type input<T extends ZodType> = T["_input"];
  namespace core {
    type $strict = "strict";
    type $strip = "strip";
    type $loose = "loose";
  }
  type OptionalKeys<T> = { [K in keyof T]: undefined extends T[K] ? K : never }[keyof T];
  type Fields<T> = { [K in Exclude<keyof T, OptionalKeys<T>>]: T[K] } & { [K in OptionalKeys<T>]?: T[K] };
  type Shape = Readonly<Record<string, ZodType>>;

  type ZodString = ZodType<string, string>;
  type ZodURL = ZodType<string, string>;
  type ZodISODateTime = ZodType<string, string>;
  type ZodNumber = ZodType<number, number>;
  type ZodInt = ZodType<number, number>;
  type ZodBoolean = ZodType<boolean, boolean>;
  type ZodLiteral<T> = ZodType<T, T>;
  type ZodEnum<T> = ZodType<T[keyof T], T[keyof T]>;
  type ZodArray<T extends ZodType> = ZodType<T["_output"][], T["_input"][]>;
  type ZodNullable<T extends ZodType> = ZodType<T["_output"] | null, T["_input"] | null>;
  type ZodOptional<T extends ZodType> = ZodType<T["_output"] | undefined, T["_input"] | undefined>;
  type ZodDefault<T extends ZodType> = ZodType<Exclude<T["_output"], undefined>, T["_input"] | undefined>;
  type ZodPrefault<T extends ZodType> = ZodType<T["_output"], T["_input"] | undefined>;
  type ZodUnion<T extends readonly ZodType[]> = ZodType<T[number]["_output"], T[number]["_input"]>;
  type ZodRecord<K extends ZodType<PropertyKey, PropertyKey>, V extends ZodType> = ZodType<
    Record<K["_output"], V["_output"]>,
    Record<K["_input"], V["_input"]>
  >;
  type ZodObject<T extends Shape, Config> = Config extends core.$loose
    ? ZodType<
        Fields<{ [K in keyof T]: T[K]["_output"] }> & Record<string, unknown>,
        Fields<{ [K in keyof T]: T[K]["_input"] }> & Record<string, unknown>
      >
    : ZodType<Fields<{ [K in keyof T]: T[K]["_output"] }>, Fields<{ [K in keyof T]: T[K]["_input"] }>>;
}
