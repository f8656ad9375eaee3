import {
  decodeResumeRecord,
  encodeResumeRecord,
  newResumeRecord,
} from "@drover/worker/attempt/resume-record";
import { expect, it } from "vitest";

it("takes spans for staged from the start once what came before them is there", () => {
  const record = newResumeRecord("7");
  record.contiguousBytes = 12;
  record.spans = [
    { startByte: 8, endByte: 16 },
    { startByte: 16, endByte: 20 },
    { startByte: 30, endByte: 40 },
  ];
  expect(decodeResumeRecord(encodeResumeRecord(record))).toMatchObject({
    contiguousBytes: 20,
    spans: [{ startByte: 30, endByte: 40 }],
  });
});
