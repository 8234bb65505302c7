/**
 * The routing table: where each global system interrupt (GSI) goes, as KVM_SET_GSI_ROUTING has it. A GSI may go to inputs
 * of several controllers and be several messages; the table is replaced as a whole.
 */
import type { InterruptMessage } from '../../src/system/apic-bus.ts';
import { quoted } from '../arguments.ts';
import { InterruptError } from '../errors.ts';
import type { ControllerConnection } from './controller-connection.ts';
import { decodeMsi } from './msi.ts';

/** GSIs are numbers from 0 to one less than this, as in KVM. */
export const gsiCount = 4096;

/** To an input of a controller that is on the bus, by the name under which it was connected. */
export interface ControllerRoute {
  readonly gsi: number;
  readonly controller: string;
  readonly pin: number;
}
/** To a message-signalled interrupt, sent when the GSI rises. */
export interface MsiRoute {
  readonly gsi: number;
  /** 64 bits; numbers are exact for destinations of up to 21 bits. */
  readonly address: number | bigint;
  /** 32 bits. */
  readonly data: number;
}
/** Where a GSI goes. */
export type Route = ControllerRoute | MsiRoute;

/** The routing table as an embedder sees it. */
export interface Routes {
  /**
   * Replaces the whole table at once. A GSI that is up raises its new inputs before the old ones fall; one that has found
   * no route for its edge yet gets it now: nothing is lost.
   * @throws InterruptError `bad-gsi`, `bad-route`, `bad-msi`, naming the route; the old table stays
   */
  replace(routes: readonly Route[]): void;
  /** A copy of the table. */
  list(): Route[];
}

/** A route made ready. */
export interface RouteTarget {
  readonly connection: ControllerConnection | null;
  readonly pin: number;
  /** What is sent; null: the input of the connection, or a message that says nothing. */
  readonly message: InterruptMessage | null;
}

/** @throws InterruptError `bad-gsi` */
export function checkGsi(gsi: number): void {
  if (!Number.isInteger(gsi) || gsi < 0 || gsi >= gsiCount)
    throw new InterruptError('bad-gsi', `GSI ${String(gsi)}: not 0-${gsiCount - 1}`);
}

export interface RoutingTable {
  readonly routes: readonly Route[];
  readonly targets: ReadonlyMap<number, readonly RouteTarget[]>;
}

/**
 * @throws InterruptError `bad-gsi`, `bad-route`, `bad-msi`, naming the route
 */
export function routingTable(
  routes: readonly Route[],
  connections: ReadonlyMap<string, ControllerConnection>,
): RoutingTable {
  if (!Array.isArray(routes)) throw new InterruptError('bad-route', 'routes: not an array');
  const targets = new Map<number, RouteTarget[]>();
  const copies: Route[] = [];
  const seen = new Set<string>();
  for (const given of routes as readonly Partial<ControllerRoute & MsiRoute>[]) {
    if (typeof given !== 'object' || given === null)
      throw new InterruptError('bad-route', `route ${String(given)}: not an object`);
    const gsi = given.gsi as number;
    checkGsi(gsi);
    const { route, target } = made(given, gsi, connections);
    const key =
      'controller' in route
        ? `${gsi} to ${route.pin} of ${route.controller}`
        : `${gsi} to 0x${route.address.toString(16)}, 0x${route.data.toString(16)}`;
    if (seen.has(key)) throw new InterruptError('bad-route', `GSI ${key}: the same route twice`);
    seen.add(key);
    copies.push(route);
    const list = targets.get(gsi);
    if (list === undefined) targets.set(gsi, [target]);
    else list.push(target);
  }
  return { routes: copies, targets };
}

function made(
  given: Partial<ControllerRoute & MsiRoute>,
  gsi: number,
  connections: ReadonlyMap<string, ControllerConnection>,
): { route: Route; target: RouteTarget } {
  const { controller, pin, address, data } = given;
  if (controller !== undefined && address === undefined) {
    const connection = connections.get(controller);
    if (connection === undefined)
      throw new InterruptError('bad-route', `GSI ${gsi}: no controller ${quoted(controller)} on the bus`);
    if (!Number.isInteger(pin) || pin! < 0 || pin! >= connection.pins)
      throw new InterruptError(
        'bad-route',
        `GSI ${gsi}: ${controller} has inputs 0-${connection.pins - 1}, not ${String(pin)}`,
      );
    return { route: { gsi, controller, pin: pin! }, target: { connection, pin: pin!, message: null } };
  }
  if (controller !== undefined || address === undefined)
    throw new InterruptError('bad-route', `GSI ${gsi}: either controller and pin, or address and data`);
  try {
    const message = decodeMsi(address, data as number);
    return { route: { gsi, address, data: data! }, target: { connection: null, pin: -1, message } };
  } catch (error) {
    if (error instanceof InterruptError) throw new InterruptError(error.code, `GSI ${gsi}: ${error.message}`);
    throw error;
  }
}
