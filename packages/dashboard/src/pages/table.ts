import type { Page } from "../page.js";
import { hostsPage } from "./hosts.js";
import { workersPage } from "./workers.js";

/** All pages, in the order of the navigation. What is asked for without a path is the first one. */
export const PAGES: readonly Page[] = [workersPage, hostsPage];
