import { PipeworkError } from '../model/errors'
import type { System } from '../system/types'

/** A value in a state file that does not have the required form. */
class InvalidValueError extends Error {}

/** A value in a state file, and its path: `items[2].kind`. */
export interface JsonValue {
  readonly value: unknown
  readonly at: string
}

function invalid({ at }: JsonValue, expected: string): InvalidValueError {
  return new InvalidValueError(`${at === '' ? 'it' : `'${at}'`} is not ${expected}`)
}

/** The fields of an object. */
export function parseObject(json: JsonValue): (key: string) => JsonValue {
  const { value, at } = json
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw invalid(json, 'an object')
  const fields = value as Readonly<Record<string, unknown>>
  return (key) => ({
    value: Object.hasOwn(fields, key) ? fields[key] : undefined,
    at: at === '' ? key : `${at}.${key}`,
  })
}

export function parseList<T>(json: JsonValue, parse: (element: JsonValue) => T): readonly T[] {
  const { value, at } = json
  if (!Array.isArray(value)) throw invalid(json, 'a list')
  return value.map((element: unknown, index) => parse({ value: element, at: `${at}[${index}]` }))
}

/** A text that matches the pattern. */
export function parseText(json: JsonValue, form: RegExp): string {
  const { value } = json
  if (typeof value !== 'string' || !form.test(value)) throw invalid(json, 'a text of the right form')
  return value
}

/** One of these words. */
export function parseChoice<T extends string>(json: JsonValue, words: readonly T[]): T {
  const found = words.find((word) => word === json.value)
  if (found === undefined) throw invalid(json, words.join(' or '))
  return found
}

/** A number that is not negative. */
export function parseCount(json: JsonValue): number {
  const { value } = json
  if (typeof value !== 'number' || !(value >= 0)) throw invalid(json, 'a number')
  return value
}

export function parseFlag(json: JsonValue): boolean {
  const { value } = json
  if (typeof value !== 'boolean') throw invalid(json, 'true or false')
  return value
}

/** Undefined where the value is absent. */
export function parseOptional<T>(json: JsonValue, parse: (json: JsonValue) => T): T | undefined {
  return json.value === undefined ? undefined : parse(json)
}

/**
 * The parsed content of a state file; undefined when the file does not exist.
 * @throws PipeworkError that names the file when it is damaged.
 */
export function readJsonFile<T>(path: string, system: System, parse: (json: JsonValue) => T): T | undefined {
  const text = system.read(path)
  if (text === undefined) return undefined
  try {
    return parse({ value: JSON.parse(text), at: '' })
  } catch (error) {
    if (!(error instanceof InvalidValueError) && !(error instanceof SyntaxError)) throw error
    const reason = error instanceof SyntaxError ? 'it is not JSON' : error.message
    throw new PipeworkError(`the state file '${path}' is damaged: ${reason}`, {
      hint: `Compare what the host has (ip address, ip route) with what it shall have, then: rm ${path}`,
    })
  }
}
