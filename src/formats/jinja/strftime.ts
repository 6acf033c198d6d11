/** `strftime` of C and Python in the C locale, for templates that name today. */

const days = ['Sunday', 'Monday', 'Tuesday', 'Wednesday', 'Thursday', 'Friday', 'Saturday']
const months = [
  'January',
  'February',
  'March',
  'April',
  'May',
  'June',
  'July',
  'August',
  'September',
  'October',
  'November',
  'December',
]

const pad = (value: number, width: number, fill = '0') => String(value).padStart(width, fill)

/** @returns undefined for a code that is not known */
export function strftime(date: Date, format: string): string | undefined {
  let unknown = false
  const text = format.replace(/%([-_]?)([\s\S]?)/g, (code, flag: string, letter: string) => {
    const value = field(date, letter)
    if (value === undefined) {
      unknown = true
      return code
    }
    if (flag === '') return value
    const bare = value.replace(/^[0 ]+(?=.)/, '')
    return flag === '-' ? bare : bare.padStart(value.length)
  })
  return unknown ? undefined : text
}

function field(date: Date, letter: string): string | undefined {
  const year = date.getFullYear()
  const day = date.getDay()
  const yearDay = Math.round((Date.UTC(year, date.getMonth(), date.getDate()) - Date.UTC(year, 0, 1)) / 86_400_000) + 1
  const hour12 = date.getHours() % 12 || 12
  const join = (format: string) => strftime(date, format)
  switch (letter) {
    case 'a':
      return days[day]!.slice(0, 3)
    case 'A':
      return days[day]
    case 'b':
    case 'h':
      return months[date.getMonth()]!.slice(0, 3)
    case 'B':
      return months[date.getMonth()]
    case 'c':
      return join('%a %b %e %H:%M:%S %Y')
    case 'C':
      return pad(Math.floor(year / 100), 2)
    case 'd':
      return pad(date.getDate(), 2)
    case 'D':
    case 'x':
      return join('%m/%d/%y')
    case 'e':
      return pad(date.getDate(), 2, ' ')
    case 'f':
      return pad(date.getMilliseconds() * 1000, 6)
    case 'F':
      return join('%Y-%m-%d')
    case 'G':
      return pad(isoWeek(date).year, 4)
    case 'H':
      return pad(date.getHours(), 2)
    case 'I':
      return pad(hour12, 2)
    case 'j':
      return pad(yearDay, 3)
    case 'k':
      return pad(date.getHours(), 2, ' ')
    case 'l':
      return pad(hour12, 2, ' ')
    case 'm':
      return pad(date.getMonth() + 1, 2)
    case 'M':
      return pad(date.getMinutes(), 2)
    case 'n':
      return '\n'
    case 'p':
      return date.getHours() < 12 ? 'AM' : 'PM'
    case 'r':
      return join('%I:%M:%S %p')
    case 'R':
      return join('%H:%M')
    case 's':
      return String(Math.floor(date.getTime() / 1000))
    case 'S':
      return pad(date.getSeconds(), 2)
    case 't':
      return '\t'
    case 'T':
    case 'X':
      return join('%H:%M:%S')
    case 'u':
      return String(day || 7)
    case 'U':
      return pad(Math.floor((yearDay + 6 - day) / 7), 2)
    case 'V':
      return pad(isoWeek(date).week, 2)
    case 'w':
      return String(day)
    case 'W':
      return pad(Math.floor((yearDay + 6 - ((day + 6) % 7)) / 7), 2)
    case 'y':
      return pad(year % 100, 2)
    case 'Y':
      return String(year)
    case 'z':
    case 'Z':
      // As of a time that knows no zone, which is what templates are given.
      return ''
    case '%':
      return '%'
    default:
      return undefined
  }
}

/** The week of ISO 8601: that of the year's first Thursday is the first. */
function isoWeek(date: Date): { year: number; week: number } {
  const thursday = new Date(Date.UTC(date.getFullYear(), date.getMonth(), date.getDate() + 4 - (date.getDay() || 7)))
  const year = thursday.getUTCFullYear()
  return { year, week: Math.ceil(((thursday.getTime() - Date.UTC(year, 0, 1)) / 86_400_000 + 1) / 7) }
}
