/**
 * An interrupt line between a device and whatever listens at its other end: a level, high or low. Edges are the
 * listener's business; a device says what its level is as often as it likes.
 */
export interface IrqLine {
  /** Says what the level is; as often as one likes. */
  set(high: boolean): void;
}

/** Where a device's line leads when the machine has no interrupt controller for it. */
export const unconnectedLine: IrqLine = { set() {} };

/** A line that tells `changed` each change of level, and nothing else; it starts low. */
export function irqLine(changed: (high: boolean) => void): IrqLine {
  let level = false;
  return {
    set(high) {
      if (high === level) return;
      level = high;
      changed(high);
    },
  };
}
