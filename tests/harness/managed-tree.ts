import type { ExpectedFile } from "./mirror-history.js";

/**
 * What a file manager has, as it tells itself: content and permissions by path. Owner and grants are left out where there are
 * none.
 *
 * @param root `filemanager+http://…/files`
 */
export async function managedTree(root: string): Promise<Record<string, ExpectedFile>> {
  const files = root.slice("filemanager+".length);
  const { files: listed } = (await (await fetch(`${files}?limit=1000`)).json()) as {
    files: { path: string }[];
  };
  const tree: Record<string, ExpectedFile> = {};
  for (const { path } of listed) {
    const answer = await fetch(`${files}/${path.split("/").map(encodeURIComponent).join("/")}`);
    const text = (name: string) => decodeURIComponent(answer.headers.get(`drover-${name}`) ?? "");
    const [owner, grants] = [text("owner"), text("grants")];
    tree[path] = {
      content: await answer.text(),
      mode: text("mode"),
      ...(owner === "" ? {} : { owner }),
      ...(grants === "" ? {} : { grants }),
    };
  }
  return tree;
}
