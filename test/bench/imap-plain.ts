import { registerHooks } from "node:module"

/**
 * Preloaded (`--import`) into a gateway of the benchmark: its IMAPS listener then speaks plain IMAP, so that the plain leg can be
 * compared with other proxies'. Nothing in the product can do this: the proxy refuses LOGIN without TLS, whatever is configured.
 */
registerHooks({
  resolve(specifier, context, next) {
    if (specifier === "node:tls" && context.parentURL?.includes("/src/imap-proxy/"))
      return { url: new URL("imap-no-tls.ts", import.meta.url).href, shortCircuit: true }
    return next(specifier, context)
  },
})
