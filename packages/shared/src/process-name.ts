import { createHash } from "node:crypto";
import { readFileSync, readlinkSync } from "node:fs";
import { hostname } from "node:os";

/**
 * Names this process so that another one on the same machine can tell whether it is alive:
 * `<machine>.<boot>.<pid>.<start time>`. The start time distinguishes it from a later process with the same
 * pid. The machine id covers the pid namespace, so that containers do not confuse each other's pids.
 */
export const PROCESS_NAME: string = [machineId(), bootId(), process.pid, startTime(process.pid) ?? "0"].join(
  ".",
);

function short(text: string): string {
  return createHash("sha256").update(text).digest("hex").slice(0, 8);
}

function read(path: string): string {
  try {
    return readFileSync(path, "utf8").trim();
  } catch {
    return ""; // not Linux: the name is less precise, see startTime
  }
}

function machineId(): string {
  let namespace = "";
  try {
    namespace = readlinkSync("/proc/self/ns/pid");
  } catch {
    // not Linux
  }
  return short(`${hostname()}\0${read("/etc/machine-id")}\0${namespace}`);
}

/** Identifies the current boot of the machine; "0" if unknown. Unsynced bytes are lost with it. */
export function bootId(): string {
  const id = read("/proc/sys/kernel/random/boot_id");
  return id === "" ? "0" : short(id);
}

/** The fields of a process from its state on (proc(5), field 3); undefined if unreadable. */
function statFields(pid: number): string[] | undefined {
  const stat = read(`/proc/${pid}/stat`);
  return stat === "" ? undefined : stat.slice(stat.lastIndexOf(")") + 2).split(" ");
}

/** Start time of a process in clock ticks since boot (proc(5), field 22); undefined if unknown. */
function startTime(pid: number): string | undefined {
  return statFields(pid)?.[19];
}

/**
 * Whether the named process is certainly dead. False if it is alive or if that is unknown, as for another
 * machine; its lease then has to expire.
 */
export function isProcessDead(name: string): boolean {
  const [machine, boot, pid, start] = name.split(".");
  const [myMachine, myBoot] = PROCESS_NAME.split(".");
  if (machine !== myMachine || pid === undefined) return false;
  if (boot !== myBoot) return true; // the machine was restarted since
  try {
    process.kill(Number(pid), 0);
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "ESRCH";
  }
  const fields = statFields(Number(pid));
  if (fields === undefined) return false;
  const zombie = fields[0] === "Z" || fields[0] === "X"; // dead, but not yet reaped by its parent
  return zombie || (start !== "0" && fields[19] !== start);
}
