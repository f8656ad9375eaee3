import { bucketOf, CATALOG_BUCKETS, type Keys } from "@drover/shared/protocol/keys";

/** Hashes that the acknowledged ids of one period are spread over. */
export const ID_BUCKETS = 4096;
/** Periods whose ids are kept: the oldest is forgotten when a new one begins. */
export const ID_PERIODS = 8;

/** Names of the keys of one mirror. */
export class MirrorKeys {
  constructor(
    private readonly keys: Keys,
    readonly name: string,
  ) {}

  /** Hash: counters, the listing, and when syncs were. Fields: {@link StateFields}. */
  state = () => this.keys.mirror(this.name, "state");
  /** Hashes of what is wanted, spread as the catalog is: path → entry. */
  wanted = (bucket: number) => this.keys.mirror(this.name, `w:${bucket}`);
  wantedOf = (path: string) => this.wanted(bucketOf(path, CATALOG_BUCKETS));
  /** Hash: path whose applied state may differ from the wanted one → generation of the state since when. */
  pending = () => this.keys.mirror(this.name, "pending");
  /** Set of paths that changed since the last export; absent members count as unchanged. */
  touched = () => this.keys.mirror(this.name, "touched");
  /** Stream of events that no sync has taken. */
  events = () => this.keys.mirror(this.name, "events");
  /** Stream of what was no event, or cannot be followed. */
  dead = () => this.keys.mirror(this.name, "dead");
  /** Set of acknowledged ids (63 bits each, which Redis keeps in eight bytes). */
  ids = (period: number, bucket: number) => this.keys.mirror(this.name, `i:${period % ID_PERIODS}:${bucket}`);
  /** The process that syncs now. It expires. */
  holder = () => this.keys.mirror(this.name, "holder");
  /** List of the latest reports (JSON), the newest first. */
  reports = () => this.keys.mirror(this.name, "reports");
  /** Hash of deliveries of reports that have not ended: id → delivery (JSON). */
  deliveries = () => this.keys.mirror(this.name, "deliveries");
}
