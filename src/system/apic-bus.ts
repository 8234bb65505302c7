/**
 * What joins the local APICs of a machine with each other and with its I/O APICs: who gets a message. SDM volume 3,
 * sections 11.6 and 11.7.
 */
import { delivery } from './apic-map.ts';
import { type IpiSender, type LocalApic, outcome } from './local-apic.ts';

/** An interrupt from an I/O APIC or another device that writes messages. */
export interface InterruptMessage {
  /** An APIC id, or with `logical` a set; 8 bits, FFH for everybody, unless `wide` says that it has 32. */
  readonly destination: number;
  readonly wide?: boolean;
  readonly logical: boolean;
  /** A delivery mode of apic-map.ts. */
  readonly mode: number;
  readonly vector: number;
  readonly level: boolean;
  /** One of the destinations is enough: the one of lowest priority. */
  readonly anyOne?: boolean;
}

const LOGICAL = 1 << 11;
const ASSERT = 1 << 14;
const LEVEL = 1 << 15;

export class ApicBus implements IpiSender {
  readonly apics: LocalApic[] = [];
  /** Told of each end of a level-triggered interrupt, for I/O APICs. */
  readonly onEndOfInterrupt: ((vector: number) => void)[] = [];
  /** Told when a processor has taken an interrupt. */
  onTaken: () => void = () => {};

  send(source: LocalApic, command: number, destination: number): void {
    const mode = (command >> 8) & 7;
    const level = (command & LEVEL) !== 0;
    // An INIT that is taken back only sets arbitration ids, which processors of today do not have.
    if (mode === delivery.init && level && (command & ASSERT) === 0) return;
    const vector = command & 0xff;
    const targets = this.targets(source, command, destination);
    this.deliver(targets, mode, vector, false);
  }
  private targets(source: LocalApic, command: number, destination: number): LocalApic[] {
    switch ((command >> 18) & 3) {
      case 1:
        return [source];
      case 2:
        return this.apics.filter((apic) => apic.isEnabled);
      case 3:
        return this.apics.filter((apic) => apic !== source && apic.isEnabled);
      default:
        return this.apics.filter((apic) => apic.matches(destination, (command & LOGICAL) !== 0));
    }
  }

  /**
   * An interrupt from a device.
   * @returns `outcome.accepted` if it is news to one of its destinations; `merged` if all of them have it waiting
   */
  message({ destination, wide, logical, mode, vector, level, anyOne }: InterruptMessage): number {
    const targets = this.apics.filter((apic) =>
      wide === true ? apic.matches(destination, logical) : apic.matchesShort(destination, logical),
    );
    return this.deliver(targets, mode, vector, level, anyOne);
  }

  private deliver(targets: LocalApic[], mode: number, vector: number, level: boolean, anyOne = false): number {
    if ((mode === delivery.lowest || anyOne) && targets.length > 1) {
      // The lowest priority, and among equals the lowest id: a run is the same each time.
      let chosen = targets[0]!;
      for (const apic of targets) if (apic.processorPriority < chosen.processorPriority) chosen = apic;
      return chosen.accept(mode, vector, level);
    }
    let best: number = outcome.ignored;
    for (const apic of targets) best = Math.max(best, apic.accept(mode, vector, level));
    return best;
  }

  endOfInterrupt(vector: number): void {
    for (const listener of this.onEndOfInterrupt) listener(vector);
  }
  taken(): void {
    this.onTaken();
  }
}
