/**
 * The page: runs a guest in this thread and shows its serial port and its figures.
 *
 * The address may say what to run at once: `?guest=sieve/x86_64&engine=auto&append=marks%3D1`. When the run is over,
 * `document.body.dataset.state` is `done` or `failed`, and `dataset.result` holds how it ended, as JSON.
 */
import { catalogue } from '../bench/guests/catalogue.ts';
import { browserHost, fetchFile } from '../runtime/hosts/browser.ts';
import { loadGuest } from '../runtime/loaders/load.ts';
import { createMachine } from '../runtime/machines/bare-machine.ts';
import { engines } from '../runtime/machines/machine.ts';

const memory = 128 * 2 ** 20;
const query = new URLSearchParams(location.search);
const base = new URL('.', document.baseURI);
const host = browserHost(base);

function element<T extends HTMLElement>(id: string): T {
  const found = document.getElementById(id);
  if (found === null) throw new Error(`the page has no element ${id}`);
  return found as T;
}

const guestSelect = element<HTMLSelectElement>('guest');
const engineSelect = element<HTMLSelectElement>('engine');
const fileInput = element<HTMLInputElement>('file');
const runButton = element<HTMLButtonElement>('run');
const serial = element('console');

function showFigures(figures: Readonly<Record<string, string>>): void {
  element('figures').replaceChildren(
    ...Object.entries(figures).flatMap(([name, value]) => {
      const term = document.createElement('dt');
      term.textContent = name;
      const detail = document.createElement('dd');
      detail.textContent = value;
      return [term, detail];
    }),
  );
}

function setState(state: 'running' | 'done' | 'failed', result: unknown): void {
  document.body.dataset.result = JSON.stringify(result);
  document.body.dataset.state = state;
  runButton.disabled = state === 'running';
}

/** The chosen file, or else the chosen guest of the bundle. */
async function chosenImage(): Promise<{ name: string; bytes: Uint8Array }> {
  const file = fileInput.files?.[0];
  if (file !== undefined) return { name: file.name, bytes: new Uint8Array(await file.arrayBuffer()) };
  if (guestSelect.selectedIndex < 0) throw new Error(`no bundled guest ${query.get('guest')}`);
  const [name, variant] = guestSelect.value.split('/');
  return { name: name!, bytes: await fetchFile(new URL(`guests/${variant}/${name}.elf`, base)) };
}

async function runGuest(commandLine: string): Promise<void> {
  const { name, bytes } = await chosenImage();
  const decoder = new TextDecoder();
  const machine = await createMachine(
    {
      memory,
      cpus: 1,
      engine: engines.find((engine) => engine === engineSelect.value) ?? 'auto',
      x87: 'exact',
      cache: 'jit86',
      serial: (byte) => serial.append(decoder.decode(Uint8Array.of(byte), { stream: true })),
      debugcon() {},
    },
    host,
  );
  try {
    const guest = loadGuest(bytes, machine.ram, { name, commandLine, modules: [] });
    machine.start(guest.state);
    const started = performance.now();
    const end = await machine.run({});
    const seconds = (performance.now() - started) / 1000;
    const statistics = machine.statistics();
    showFigures({
      Ended: end.reason === 'exit' ? `exit status ${end.status}` : end.reason,
      Instructions: statistics.instructions.toLocaleString('en'),
      Speed: `${(statistics.instructions / seconds / 1e6).toFixed(1)} MIPS over ${seconds.toFixed(3)} s`,
      Translations: `${statistics.regions} regions, ${statistics.codeBytes.toLocaleString('en')} bytes`,
    });
    setState('done', { end, format: guest.format, seconds, statistics, isolated: host.sharesMemory });
  } finally {
    await machine.close();
  }
}

async function start(commandLine: string): Promise<void> {
  serial.textContent = '';
  showFigures({});
  setState('running', null);
  try {
    await runGuest(commandLine);
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error);
    showFigures({ Failed: message });
    setState('failed', { message });
  }
}

element('isolation').textContent = host.sharesMemory
  ? 'It is cross-origin isolated, so threads share its memory.'
  : 'It is not cross-origin isolated: no memory is shared with threads, and translating is slower.';
for (const { name, variants, description } of catalogue) {
  for (const variant of variants)
    guestSelect.add(new Option(`${name} · ${variant} — ${description}`, `${name}/${variant}`));
}
element<HTMLFormElement>('controls').addEventListener('submit', (event) => {
  event.preventDefault();
  void start('');
});

const guest = query.get('guest');
if (guest !== null) {
  guestSelect.value = guest;
  engineSelect.value = query.get('engine') ?? 'auto';
  void start(query.get('append') ?? '');
}
