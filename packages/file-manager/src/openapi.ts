import { grantSchema } from "@drover/shared/permissions";
import {
  CONTRACT,
  healthSchema,
  keptSchema,
  moveSchema,
  pageSchema,
  permissionsSchema,
  problemSchema,
  storedSchema,
} from "@drover/shared/storage/filemanager/contract";
import { z } from "zod";

const SCHEMAS = {
  Health: healthSchema,
  Stored: storedSchema,
  Permissions: permissionsSchema,
  Grant: grantSchema,
  Kept: keptSchema,
  Page: pageSchema,
  Move: moveSchema,
  Problem: problemSchema,
};

const ref = (name: keyof typeof SCHEMAS) => ({ $ref: `#/components/schemas/${name}` });
const json = (name: keyof typeof SCHEMAS, description: string) => ({
  description,
  content: { "application/json": { schema: ref(name) } },
});
const problem = (description: string) => ({
  description,
  content: { "application/problem+json": { schema: ref("Problem") } },
});

const header = (name: string, description: string, schema: object = { type: "string" }) => ({
  name,
  in: "header",
  required: false,
  description,
  schema,
});

const IF_MATCH = header("If-Match", "ETags that the file must have, or `*` for any file.");
const IF_NONE_MATCH = header("If-None-Match", "`*`: no file must be there.", { const: "*" });
const FENCE = header(
  "Drover-Fence",
  "A number that grows with each holder of the file's lease. A request with a smaller one than an earlier request had is refused.",
  { type: "string", pattern: "^\\d{1,30}$" },
);
const PERMISSIONS = [
  header("Drover-Mode", "POSIX permission bits in octal.", { type: "string", pattern: "^[0-7]{3,4}$" }),
  header("Drover-Owner", "Owner, percent-encoded."),
  header("Drover-Grants", "JSON of a list of grants, percent-encoded."),
];
const PATH = {
  name: "path",
  in: "path",
  required: true,
  description:
    "Name of the file. Each of its segments is percent-encoded by itself, and the slashes between them are not. A last segment of `.drover-` and 16 characters names a staged file: it is written, moved and removed, and not listed.",
  schema: { type: "string" },
};
const STORED_HEADERS = Object.fromEntries(
  ["ETag", "Repr-Digest", "Drover-Mode", "Drover-Owner", "Drover-Grants", "Drover-Source-Version"].map(
    (name) => [name, { schema: { type: "string" } }],
  ),
);
const bytes = { "application/octet-stream": { schema: { type: "string", format: "binary" } } };

/** Answers that every request may get. */
const COMMON = {
  "400": problem("The path or the request is invalid."),
  "401": problem("The token is missing or wrong."),
  "403": problem("Not permitted."),
  "409": problem("There is no file by that name, but a directory or something else."),
  "429": problem("Too many requests; Retry-After says when to come again."),
  "500": problem("The server failed; the request may be repeated."),
  "503": problem("The server cannot do it now; the request may be repeated."),
  "507": problem("No space left."),
};
const NOT_FOUND = { "404": problem("There is no such file.") };
const REFUSED = { "412": problem("The condition does not hold, or the fence is an older one.") };

/** The contract of file managers as OpenAPI 3.1: docs/file-manager-openapi.json. */
export function openApiDocument(): Record<string, unknown> {
  return {
    openapi: "3.1.0",
    info: {
      title: "Drover file manager",
      version: CONTRACT.split("/")[1] as string,
      license: { name: "MIT", identifier: "MIT" },
      description:
        "What Drover needs of a file manager that it writes to. Every request may be repeated. A file is there whole or not at all, and replaced in the same step in which its ETag is compared.",
    },
    servers: [{ url: "http://127.0.0.1:8001" }],
    security: [{ token: [] }, {}],
    paths: {
      "/health": {
        get: {
          operationId: "health",
          summary: "Tells that this is a file manager, and what it can do",
          responses: { "200": json("Health", "It serves."), ...COMMON },
        },
      },
      "/files": {
        get: {
          operationId: "list",
          summary: "Lists files in the byte order of their paths (UTF-8), a page at a time",
          parameters: [
            {
              name: "after",
              in: "query",
              schema: { type: "string" },
              description: "The path before the first one.",
            },
            {
              name: "prefix",
              in: "query",
              schema: { type: "string" },
              description: "What all paths begin with.",
            },
            {
              name: "limit",
              in: "query",
              schema: { type: "integer", minimum: 1, maximum: 5000, default: 1000 },
            },
          ],
          responses: { "200": json("Page", "A page."), ...COMMON },
        },
      },
      "/files/{path}": {
        parameters: [PATH],
        get: {
          operationId: "read",
          summary: "Gives the bytes of a file",
          responses: {
            "200": { description: "The file.", headers: STORED_HEADERS, content: bytes },
            ...NOT_FOUND,
            ...COMMON,
          },
        },
        head: {
          operationId: "head",
          summary: "Tells of a file what GET does, without its bytes",
          responses: {
            "200": { description: "The file is there.", headers: STORED_HEADERS },
            "404": { description: "There is no such file." },
          },
        },
        put: {
          operationId: "saveToDisk",
          summary: "Stores a file whole, or changes nothing",
          parameters: [
            header("Repr-Digest", "SHA-256 of the bytes (RFC 9530). Other bytes are refused."),
            header("Drover-Source-Version", "Version of the file at its source, percent-encoded."),
            IF_MATCH,
            IF_NONE_MATCH,
            FENCE,
            ...PERMISSIONS,
          ],
          requestBody: { required: true, content: bytes },
          responses: {
            "200": json("Stored", "The file was replaced: what is stored now."),
            "201": json("Stored", "The file is new: what is stored now."),
            ...REFUSED,
            "413": problem("The file is too large."),
            "422": problem("The bytes that came are not those of Repr-Digest."),
            ...COMMON,
          },
        },
        patch: {
          operationId: "updatePermissions",
          summary: "Sets permissions. What is not named stays as it is",
          parameters: [IF_MATCH, FENCE],
          requestBody: { required: true, content: { "application/json": { schema: ref("Permissions") } } },
          responses: {
            "200": json("Stored", "They are set."),
            "202": json("Kept", "There is no such file yet: they are kept an hour for its first PUT."),
            ...REFUSED,
            ...COMMON,
          },
        },
        delete: {
          operationId: "remove",
          summary: "Removes a file, and the directories that it leaves empty",
          parameters: [IF_MATCH, FENCE],
          responses: { "204": { description: "It is removed." }, ...NOT_FOUND, ...REFUSED, ...COMMON },
        },
      },
      "/move": {
        post: {
          operationId: "move",
          summary: "Renames a file, over another one if need be, in one step",
          parameters: [
            { ...IF_MATCH, description: "ETags that the file at the target must have." },
            { ...IF_NONE_MATCH, description: "`*`: nothing must be at the target." },
            header("Drover-From-Match", "ETags that the file to move must have."),
            FENCE,
          ],
          requestBody: { required: true, content: { "application/json": { schema: ref("Move") } } },
          responses: {
            "200": json("Stored", "What is at the target now."),
            "404": problem("There is nothing to move."),
            ...REFUSED,
            ...COMMON,
          },
        },
      },
    },
    components: {
      securitySchemes: { token: { type: "http", scheme: "bearer" } },
      schemas: Object.fromEntries(
        Object.entries(SCHEMAS).map(([name, schema]) => {
          const { $schema: _, ...described } = z.toJSONSchema(schema, { io: "input" });
          return [name, described];
        }),
      ),
    },
  };
}
