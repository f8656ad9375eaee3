import { z } from "zod";

const absent = z
  .string()
  .nullish()
  .transform((value) => value ?? undefined);

/** A message as Amazon SNS posts it. What is not a field here plays no part in its signature. */
export const snsEnvelopeSchema = z.object({
  Type: z.enum(["Notification", "SubscriptionConfirmation", "UnsubscribeConfirmation"]),
  MessageId: z.string().min(1).max(256),
  TopicArn: z.string().min(1).max(512),
  Message: z.string(),
  Timestamp: z.string().max(64),
  Subject: absent,
  Token: absent,
  SubscribeURL: absent,
  SignatureVersion: absent,
  Signature: absent,
  SigningCertURL: absent,
});
export type SnsEnvelope = z.infer<typeof snsEnvelopeSchema>;
