/**
 * Opens the built page in a headless Chromium, for tests: served with or without cross-origin isolation.
 */
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { chromium, type Page } from 'playwright-core';
import { serve } from '../web/serve.ts';

const candidates = ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'];

/** The browser of this machine; undefined if it has none, and the test is to be skipped. */
export const browserPath: string | undefined = candidates.find((path) => existsSync(path));

/** The folder that `npm run build` fills. */
export const pageFolder: string = fileURLToPath(new URL('../dist/web', import.meta.url));

/** Opens the page at `path`, gives it to `use`, and closes everything, whatever happens. */
export async function withPage<T>(
  path: string,
  options: { isolated: boolean },
  use: (page: Page, errors: readonly string[]) => Promise<T>,
): Promise<T> {
  const server = await serve({ folder: pageFolder, port: 0, ...options });
  try {
    const browser = await chromium.launch({ executablePath: browserPath!, args: ['--no-sandbox'] });
    try {
      const page = await browser.newPage();
      const errors: string[] = [];
      page.on('pageerror', (error) => errors.push(error.message));
      await page.goto(server.url + path);
      return await use(page, errors);
    } finally {
      await browser.close();
    }
  } finally {
    server.close();
  }
}
