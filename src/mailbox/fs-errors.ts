/** True when `error` comes from the operating system with this code (`ENOENT`). */
export function isCode(error: unknown, code: string): boolean {
  return error instanceof Error && "code" in error && error.code === code
}
