import { transform } from 'esbuild'
import { defineConfig, type Plugin } from 'vitest/config'
import PlainReporter from './test/support/reporter.js'

/** Where decorators are of the legacy kind, as a tsconfig.json there says: TypeORM knows no others. */
const LEGACY = ['/decorators/legacy', '/test/integrations/typeorm/', '/examples/web/']

/**
 * Compiles decorators as the language has them. Vite's own compiler knows only the legacy kind so far and leaves these in
 * the code, where Node meets a syntax error. Folders compiled as legacy decorators are left to Vite, which reads their
 * tsconfig.json.
 */
function standardDecorators(): Plugin {
  return {
    name: 'standard-decorators',
    enforce: 'pre',
    async transform(code, id) {
      const isLegacy = LEGACY.some(folder => id.includes(folder))
      if (!/\.[cm]?tsx?$/.test(id) || isLegacy || !/^\s*@\w/m.test(code)) return null
      const { code: lowered, map } = await transform(code, {
        loader: 'ts',
        format: 'esm',
        target: 'es2022',
        sourcemap: true,
        sourcefile: id,
        tsconfigRaw: { compilerOptions: { experimentalDecorators: false } },
      })
      return { code: lowered, map }
    },
  }
}

export default defineConfig({
  plugins: [standardDecorators()],
  test: {
    include: ['test/**/*.test.ts', 'simulation/**/*.test.ts'],
    globalSetup: ['test/support/global-setup.ts'],
    setupFiles: ['test/support/setup.ts'],
    reporters: ['default', new PlainReporter()],
    // Generous, since a slow machine is no failure; a hook may start the first server of a major.
    testTimeout: 30_000,
    hookTimeout: 60_000,
  },
})
