// What others read, judged by the CloudEvents project's own package.
import { CloudEvent as JudgedEvent, HTTP } from 'cloudevents';
import { describe, expect, it } from 'vitest';
import { PermanentDeliveryError } from '../../../src/outbox/delivery.ts';
import { cloudEventOf, contentType } from '../../../src/integration/cloud-event.ts';
import { integrationEvent } from '../../support/integration-events.ts';

describe('an integration event as a CloudEvent', () => {
  it('is one in strict eyes, with every attribute in its place', () => {
    const event = integrationEvent({ sequence: 12 });
    const judged = new JudgedEvent({ ...cloudEventOf(event) });
    expect(judged.validate()).toBe(true);
    expect(judged).toMatchObject({
      id: event.eventId,
      source: '/athyper-sagas',
      specversion: '1.0',
      type: 'com.athyper.thing.made.v2',
      subject: 'thing-1',
      time: '2026-01-02T03:04:05.678Z',
      datacontenttype: 'application/json',
      dataschema: 'urn:athyper:schema:thing.made:v2',
      tenantid: 'acme',
      userid: 'u-1',
      correlationid: 'c-1',
      traceparent: '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01',
      sequence: '0000000012',
      partitionkey: 'thing-1',
      data: { name: 'lamp' },
    });
  });

  it('is read from its bytes and content type alone', () => {
    const event = cloudEventOf(integrationEvent());
    const body = JSON.stringify(event);
    const read = HTTP.toEvent({ headers: { 'content-type': contentType }, body });
    expect(JSON.parse(JSON.stringify(read))).toEqual(event);
  });

  it('leaves out what is not known, and is the same bytes each time', () => {
    const event = integrationEvent({ metadata: { tenantId: undefined } });
    const known = ['id', 'source', 'specversion', 'type', 'subject', 'time', 'datacontenttype', 'dataschema'];
    expect(Object.keys(cloudEventOf(event))).toEqual([...known, 'sequence', 'partitionkey', 'data']);
    expect(JSON.stringify(cloudEventOf(event))).toBe(JSON.stringify(cloudEventOf(structuredClone(event))));
  });

  it('sorts by its sequence as text', () => {
    const sequences = [9, 10, 2_147_483_647, 1].map(
      (sequence) => cloudEventOf(integrationEvent({ sequence })).sequence,
    );
    expect(sequences.toSorted().map(Number)).toEqual([1, 9, 10, 2_147_483_647]);
  });

  it('of 64 KiB goes out, and with one byte more never will', () => {
    const of = (length: number) => integrationEvent({ data: { name: 'x'.repeat(length) } });
    const around = Buffer.byteLength(JSON.stringify(cloudEventOf(of(0))));
    expect(Buffer.byteLength(JSON.stringify(cloudEventOf(of(65_536 - around))))).toBe(65_536);
    expect(() => cloudEventOf(of(65_537 - around))).toThrow(PermanentDeliveryError);
    expect(() => cloudEventOf(of(65_537 - around))).toThrow(/65537 bytes as JSON; the limit is 65536/);
  });
});
