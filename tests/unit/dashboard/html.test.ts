import { html } from "@drover/dashboard/html";
import { describe, expect, it } from "vitest";

describe("a template", () => {
  it("escapes what is put into it, in text and in attributes", () => {
    const nasty = `<img src=x onerror="alert('1')">&`;
    expect(html`<p title="${nasty}">${nasty}</p>`.text).toBe(
      '<p title="&lt;img src=x onerror=&quot;alert(&#39;1&#39;)&quot;&gt;&amp;">&lt;img src=x onerror=&quot;alert(&#39;1&#39;)&quot;&gt;&amp;</p>',
    );
  });

  it("takes other templates, lists of them, numbers, and nothing for what is not there", () => {
    const items = ["a", "<b>"].map((each) => html`<li>${each}</li>`);
    expect(html`<ul>${items}</ul>${0}${false}${undefined}${null}${["x", ["&"]]}`.text).toBe(
      "<ul><li>a</li><li>&lt;b&gt;</li></ul>0x&amp;",
    );
  });

  it("is not fooled by what only looks like a template", () => {
    const fake = { text: "<script>" } as never;
    expect(html`${fake}`.text).not.toContain("<script>");
  });
});
