/**
 * The parts of prom-client that count. Its whole also loads what measures the process, with a library for tracing that we do not use: 70
 * modules of 1,000 of a start, in each thread. The version is pinned, and test/log/counters.test.ts goes through all of these.
 */
declare module "prom-client/lib/cluster.js" {
  export { AggregatorRegistry as default } from "prom-client"
}
declare module "prom-client/lib/counter.js" {
  export { Counter as default } from "prom-client"
}
declare module "prom-client/lib/gauge.js" {
  export { Gauge as default } from "prom-client"
}
declare module "prom-client/lib/histogram.js" {
  export { Histogram as default } from "prom-client"
}
declare module "prom-client/lib/registry.js" {
  export { Registry as default } from "prom-client"
}
