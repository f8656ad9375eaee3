/** What `import "drover"` gives where Drover is installed as one package: both of its interfaces, see docs/library.md. */
export * from "@drover/producer";
export * from "@drover/worker";
