/** A message of SNS is not to be believed. The message says why in one line, without what the message contained. */
export class SnsError extends Error {
  override name = "SnsError";
}

/** The signature is missing, of an unknown version, or not that of this message. */
export class SnsSignatureError extends SnsError {
  override name = "SnsSignatureError";
}

/** A URL in the message does not lead to SNS. Nothing was fetched from it. */
export class SnsUrlError extends SnsError {
  override name = "SnsUrlError";
}

/** The certificate could not be fetched, has expired or is not one of SNS. */
export class SnsCertificateError extends SnsError {
  override name = "SnsCertificateError";
}

/** The message is too old, or from the future: it may be a copy of one that was sent before. */
export class SnsTimeError extends SnsError {
  override name = "SnsTimeError";
}

/** The message is of a topic that is not on the list. */
export class SnsTopicError extends SnsError {
  override name = "SnsTopicError";
}
