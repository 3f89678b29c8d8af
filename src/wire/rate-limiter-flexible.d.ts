/** The one part of rate-limiter-flexible that is used: its whole loads a driver for each database that there is. The version is pinned. */
declare module "rate-limiter-flexible/lib/RateLimiterMemory.js" {
  export { RateLimiterMemory as default } from "rate-limiter-flexible"
}
