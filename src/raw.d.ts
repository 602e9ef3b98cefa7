/** A file's text, embedded by the build. */
declare module '*?raw' {
  const text: string
  export default text
}
