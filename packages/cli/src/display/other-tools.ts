const COMPARED =
  "it is --update, --ignore-existing, --size-only or --checksum-only of sync and cp; without them bytes are compared";
const WHOLE = "a directory is copied whole anyway";
const VERIFIED = "certificates are always verified; --ca-file names an authority of your own";

/** Options of rclone, aws s3, s5cmd, wget, cp and rsync, and what stands for them here. `docs/coming-from.md` has more. */
const COUNTERPARTS: Record<string, string> = {
  "-a": WHOLE,
  "-r": WHOLE,
  "-R": WHOLE,
  "--archive": WHOLE,
  "--recursive": WHOLE,
  "-c": "it is --checksum-only here",
  "-u": "it is --update here",
  "--exact-timestamps": COMPARED,
  "--ignore-existing": "drover sync and drover cp have it",
  "--immutable": "it is --ignore-existing here",
  "--no-clobber": "it is --ignore-existing here",
  "--size-only": "drover sync and drover cp have it",
  "--update": "drover sync and drover cp have it",
  "-j": "it is --max-workers here",
  "--jobs": "it is --max-workers here",
  "--numworkers": "it is --max-workers here",
  "--parallel": "it is --max-workers here",
  "--transfers": "it is --max-workers here",
  "-i": "it is --from-file here",
  "--files-from": "it is --from-file here",
  "--input-file": "it is --from-file here",
  "--filter": "it is --include or --exclude here, in any order, or --filter-from with a file",
  "--delete": "drover sync SOURCE… --to DEST --delete has it",
  "--max-delete": "drover sync SOURCE… --to DEST --delete has it",
  "--delete-after": "it is --delete of drover sync here, after all has arrived",
  "--delete-before": "it is --delete of drover sync here, after all has arrived",
  "--delete-during": "it is --delete of drover sync here, after all has arrived",
  "--delete-excluded": "drover sync SOURCE… --to DEST --delete has it",
  "--remove-source-files": "drover mv has it",
  "--endpoint-url": "it is --s3-endpoint here",
  "--no-sign-request": "it is --s3-anonymous here",
  "--region": "it is --s3-region here",
  "--request-payer": "it is --s3-requester-pays here",
  "--raw": "it is --no-wildcards here",
  "--acl": "it is --s3-acl here",
  "--sse": "it is --s3-sse here",
  "--sse-kms-key-id": "it is --s3-sse-kms-key-id here",
  "--storage-class": "it is --s3-storage-class here",
  "--cache-control": "it is --s3-cache-control here",
  "--content-type": "it is --s3-content-type here",
  "--content-disposition": "it is --s3-content-disposition here, and what wget means --name-from-header",
  "--content-encoding": "it is --s3-content-encoding here",
  "--content-language": "it is --s3-content-language here",
  "--metadata-set": "it is --s3-metadata here",
  "--s3-server-side-encryption": "it is --s3-sse here",
  "--s3-chunk-size": "it is --s3-part-size here",
  "--part-size": "it is --s3-part-size here",
  "--sse-c": "--s3-sse-customer-key-file names the file of the key",
  "--sse-c-key": "--s3-sse-customer-key-file names the file of the key",
  "--s3-sse-customer-key": "--s3-sse-customer-key-file names the file of the key",
  "--only-show-errors": "it is --quiet here",
  "-P": "progress is shown on a terminal anyway; --stats sets how often elsewhere",
  "--progress": "progress is shown on a terminal anyway; --stats sets how often elsewhere",
  "--limit-rate": "it is --bwlimit here",
  "-t": "it is --retries here",
  "--tries": "it is --retries here",
  "-T": "it is --timeout here",
  "-O": "the last argument of drover cp is the file's name",
  "--output-document": "the last argument of drover cp is the file's name",
  "--password": "--netrc, or user and password in the URL, https://user:password@host/…",
  "--user": "--netrc, or user and password in the URL, https://user:password@host/…",
  "--ca-bundle": "it is --ca-file here",
  "--ca-certificate": "it is --ca-file here",
  "-k": VERIFIED,
  "--insecure": VERIFIED,
  "--no-check-certificate": VERIFIED,
  "--no-verify-ssl": VERIFIED,
  "-L": "drover sync and drover cp have it as --copy-links; a link to a file arrives as a file anyway",
  "--copy-links":
    "drover sync and drover cp have it as --copy-links; a link to a file arrives as a file anyway",
  "--follow-symlinks":
    "drover sync and drover cp have it as --copy-links; a link to a file arrives as a file anyway",
};

/**
 * What stands for an option that is unknown here, but known from another tool.
 *
 * @param option as it was typed, with its value behind `=` or without.
 * @returns undefined if it is not known at all.
 */
export function counterpartOf(option: string): string | undefined {
  const name = option.replace(/=.*$/s, "");
  return Object.hasOwn(COUNTERPARTS, name) ? COUNTERPARTS[name] : undefined;
}
