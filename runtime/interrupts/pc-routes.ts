/**
 * How a PC is wired: its sixteen lines are GSIs 0-15 and go to both kinds of controller, the I/O APIC's other inputs have the
 * GSIs of their numbers. The interval timer's line, 0, goes to input 2 of the I/O APIC, as ACPI tables of PCs say; the 8259s
 * use their input 2 themselves.
 */
import { ioApicPins } from '../devices/io-apic.ts';
import type { Route } from './routes.ts';

/** Inputs of the pair of 8259s. */
export const picPins = 16;
const timer = 0;
const cascade = 2;

function pcRoute(gsi: number, pic: string | null, ioApic: string | null): Route[] {
  if (gsi === cascade) return [];
  const routes: Route[] = [];
  if (pic !== null && gsi < picPins) routes.push({ gsi, controller: pic, pin: gsi });
  if (ioApic !== null) routes.push({ gsi, controller: ioApic, pin: gsi === timer ? cascade : gsi });
  return routes;
}

/**
 * The routing table of a PC.
 * @param controllers the names under which the controllers are on the bus; null for one that the machine does not have
 */
export function pcRoutes({
  pic = 'pic',
  ioApic = 'io-apic',
}: {
  readonly pic?: string | null;
  readonly ioApic?: string | null;
} = {}): Route[] {
  return Array.from({ length: ioApicPins }, (_, gsi) => pcRoute(gsi, pic, ioApic)).flat();
}
