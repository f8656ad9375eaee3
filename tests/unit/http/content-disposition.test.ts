import { fileNameOf } from "@drover/shared/storage/http/content-disposition";
import { expect, test } from "vitest";

const latin1 = (text: string) => Buffer.from(text).toString("latin1");

test.for<[string | undefined, string | undefined]>([
  [undefined, undefined],
  ["attachment", undefined],
  ["attachment; filename=a.csv", "a.csv"],
  ['attachment; filename="a b.csv"', "a b.csv"],
  ['attachment;FILENAME="a;b.csv"; size=3', "a;b.csv"],
  ['attachment; filename="say \\"hi\\".txt"', 'say "hi".txt'],
  ["attachment; filename*=UTF-8''%e2%82%ac%20rates.txt", "€ rates.txt"],
  ["attachment; filename*=iso-8859-1'en'%A3.txt", "£.txt"],
  ["attachment; filename=\"euro.txt\"; filename*=UTF-8''%e2%82%ac.txt", "€.txt"],
  ["attachment; filename*=UTF-8''%e2%82%ac.txt; filename=euro.txt", "€.txt"],
  ["attachment; filename=\"euro.txt\"; filename*=UTF-8''%ff", "euro.txt"],
  ["attachment; filename=\"euro.txt\"; filename*=KOI8-R''%c1", "euro.txt"],
  [latin1('attachment; filename="größe.txt"'), "größe.txt"],
  ['attachment; filename="gr\u00f6\u00dfe.txt"', "größe.txt"],
  // Never outside of the directory.
  ['attachment; filename="../../etc/passwd"', "passwd"],
  ['attachment; filename="/etc/passwd"', "passwd"],
  ['attachment; filename="C:\\\\windows\\\\a.ini"', "a.ini"],
  ["attachment; filename*=UTF-8''..%2F..%2Fa", "a"],
  ["attachment; filename*=UTF-8''%00a%0d%0ab", "ab"],
  ["attachment; filename*=UTF-8''a%E2%80%AEgpj.exe", "agpj.exe"],
  // No name of a file that is hidden, or Drover's own.
  ['attachment; filename=".."', undefined],
  ['attachment; filename=""', undefined],
  ['attachment; filename="a/"', undefined],
  ['attachment; filename=".bashrc"', undefined],
  ['attachment; filename=".drover-0123456789abcdef"', undefined],
  ["attachment; filename*=UTF-8''.bashrc; filename=\"plain\"", "plain"],
])("%s names %s", ([header, name]) => {
  expect(fileNameOf(header)).toBe(name);
});
