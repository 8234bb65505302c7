/** The items of a frame that is being pushed, before they are written; one per processor, used by one frame at a time. */

/** More than the largest frame: a call gate's 31 parameters and four items. */
const MOST = 48;

export class FrameBuffer {
  /** Linear addresses. */
  readonly at = new Float64Array(MOST);
  readonly bytes = new Uint8Array(MOST);
  readonly low = new Uint32Array(MOST);
  readonly high = new Uint32Array(MOST);
  count = 0;
}
