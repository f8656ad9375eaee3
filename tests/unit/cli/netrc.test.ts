import { Netrc } from "@drover/cli/settings/netrc";
import { describe, expect, test } from "vitest";

const FILE = `
# of this machine
machine a.test
  login me
  password p@ss:word
machine b.test login "two words" password "a \\"b\\" \\\\"
macdef init
  machine c.test login wrong password wrong

machine C.test login c account x password #1
machine a.test login later password later
`;

describe(".netrc", () => {
  test.for([
    ["https://a.test/x?y=1", "https://me:p%40ss%3Aword@a.test/x?y=1"],
    ["http://a.test:8080/x", "http://me:p%40ss%3Aword@a.test:8080/x"],
    ["https://B.test/", "https://two%20words:a%20%22b%22%20%5C@b.test/"],
    ["https://c.test/", "https://c:%231@c.test/"],
    ["https://sub.a.test/x", "https://sub.a.test/x"],
    ["https://you:x@a.test/x", "https://you:x@a.test/x"],
    ["s3://a.test/x", "s3://a.test/x"],
    ["./a.test", "./a.test"],
    ["https://", "https://"],
  ])("of %s makes %s", ([url, expected]) => {
    expect(new Netrc(FILE).addTo(url as string)).toBe(expected);
  });

  test("may have a default, for all others", () => {
    const netrc = new Netrc(`${FILE}\ndefault login anonymous password x`);
    expect(netrc.addTo("https://d.test/")).toBe("https://anonymous:x@d.test/");
    expect(netrc.addTo("https://c.test/")).toBe("https://c:%231@c.test/");
  });

  test("may be empty, or end in the middle", () => {
    for (const text of ["", "machine", "machine a.test login", "macdef x\n y"])
      expect(new Netrc(text).addTo("https://b.test/")).toBe("https://b.test/");
  });
});
